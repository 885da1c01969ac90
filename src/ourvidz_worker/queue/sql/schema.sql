-- The embedded queue, version 1. Times called *_at are wall clock; lease_until, not_before and due
-- are monotonic seconds of one pod's life: opening the store resets them.
BEGIN IMMEDIATE;

-- One row a job, small and often rewritten. `seq` is the order of acceptance. `fence` is that of
-- the newest lease. `returned` is that of the lease it was last given back from, 0 if it never was.
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  lane TEXT NOT NULL,
  class INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  submitted_at REAL NOT NULL,
  status TEXT NOT NULL DEFAULT 'waiting'
    CHECK (status IN ('waiting', 'leased', 'completed', 'failed', 'cancelled')),
  tries INTEGER NOT NULL DEFAULT 0,
  seed INTEGER,
  fence INTEGER NOT NULL DEFAULT 0,
  owner TEXT,
  lease_until REAL,
  returned INTEGER NOT NULL DEFAULT 0,
  not_before REAL NOT NULL DEFAULT 0,
  started_at REAL,
  settled_at REAL,
  start_told INTEGER NOT NULL DEFAULT 0,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  cancel_body BLOB
) STRICT;
CREATE INDEX jobs_waiting ON jobs (lane, class, user_id, returned, seq, status)
  WHERE status = 'waiting';
CREATE INDEX jobs_returned ON jobs (lane, class, returned) WHERE status = 'waiting' AND returned > 0;
CREATE INDEX jobs_leased ON jobs (lane, lease_until, status) WHERE status = 'leased';

-- What was received; written once.
CREATE TABLE bodies (
  job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  payload BLOB NOT NULL
) STRICT;

-- How a job ended; written once. `facts`, `assets` and `receipt` are JSON.
CREATE TABLE ends (
  job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  code TEXT,
  sentence TEXT,
  facts BLOB NOT NULL,
  assets BLOB NOT NULL,
  receipt BLOB
) STRICT;

-- All of a job, in the order in which sqlite_rows.py reads it.
CREATE VIEW records AS
SELECT seq, id, type, user_id, lane, class, payload, submitted_at,
  status, tries, seed, started_at, settled_at, cancel_requested,
  assets, receipt, code, sentence, facts
FROM jobs JOIN bodies ON bodies.job = seq LEFT JOIN ends ON ends.job = seq;

-- Whose turn it is: the fence a user was last served with, and the user's first job that waits and
-- was never leased (its seq), null when there is none.
CREATE TABLE turns (
  lane TEXT NOT NULL,
  class INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  served INTEGER NOT NULL DEFAULT 0,
  head INTEGER,
  PRIMARY KEY (lane, class, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX turns_next ON turns (lane, class, served, head) WHERE head IS NOT NULL;
CREATE INDEX turns_idle ON turns (served) WHERE head IS NULL;

-- Callbacks owed. `first` marks the oldest of its job: only that one may be sent.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL,
  status TEXT NOT NULL,
  body BLOB NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  created_at REAL NOT NULL,
  due REAL NOT NULL DEFAULT 0,
  error TEXT,
  first INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_job ON outbox (job_id, id);
CREATE INDEX outbox_due ON outbox (due, id) WHERE first = 1;

-- Callbacks given up, for the operator, each under the number that it had in the outbox.
CREATE TABLE dead_callbacks (
  id INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  status TEXT NOT NULL,
  body BLOB NOT NULL,
  tries INTEGER NOT NULL,
  created_at REAL NOT NULL,
  at REAL NOT NULL,
  reason TEXT NOT NULL
) STRICT;

CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT,
  raw BLOB NOT NULL,
  reason TEXT NOT NULL,
  code TEXT NOT NULL,
  tries INTEGER NOT NULL,
  at REAL NOT NULL
) STRICT;

-- The newest events of each job; `data` is JSON.
CREATE TABLE events (
  job INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  kind TEXT NOT NULL,
  at REAL NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- Numbers that only grow: the fence, and the leases granted in each lane.
CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('fence', 0);

PRAGMA user_version = 1;
COMMIT;
