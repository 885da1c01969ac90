-- What the contract touches of the application's database, with the constraints that it implies.

CREATE TABLE IF NOT EXISTS jobs (
    id text PRIMARY KEY CHECK (id <> ''),
    user_id text NOT NULL CHECK (user_id <> ''),
    job_type text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    prompt text NOT NULL DEFAULT '',
    original_prompt text,
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    worker_id text,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
);

CREATE TABLE IF NOT EXISTS workspace_assets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    job_id text NOT NULL REFERENCES jobs (id),
    asset_index integer NOT NULL CHECK (asset_index >= 0),
    asset_type text NOT NULL CHECK (asset_type IN ('image', 'video')),
    temp_storage_path text NOT NULL UNIQUE,
    thumbnail_path text,
    mime_type text NOT NULL CHECK (mime_type IN ('image/png', 'video/mp4')),
    file_size_bytes bigint NOT NULL CHECK (file_size_bytes > 0),
    generation_seed bigint NOT NULL,
    original_prompt text NOT NULL CHECK (original_prompt <> ''),
    width integer,
    height integer,
    duration_seconds double precision,
    generation_settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, asset_index),
    UNIQUE (job_id, generation_seed)
);

CREATE TABLE IF NOT EXISTS system_config (
    id integer PRIMARY KEY CHECK (id = 1),
    config jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object')
);

INSERT INTO system_config (id) VALUES (1) ON CONFLICT DO NOTHING;
