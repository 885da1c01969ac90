-- What a pod keeps of its own when the jobs lie in Redis, version 1: the callbacks it owes (K-11).
-- `due` is monotonic seconds of one pod's life: opening the store resets it.
BEGIN IMMEDIATE;

-- Callbacks owed. `first` marks the oldest of its job: only that one may be sent. `nonce` names the
-- very end (or acceptance) of the job that it tells of; it is empty for `processing`, which is owed
-- once. A row whose `due` is infinite waits for Redis to say whether it is owed.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL,
  status TEXT NOT NULL,
  nonce TEXT NOT NULL,
  body BLOB NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  created_at REAL NOT NULL,
  due REAL NOT NULL DEFAULT 0,
  error TEXT,
  first INTEGER NOT NULL,
  UNIQUE (job_id, status, nonce)
) STRICT;
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

-- Who this pod is: a random name that its state folder keeps for life.
CREATE TABLE pod (name TEXT NOT NULL) STRICT;

PRAGMA user_version = 1;
COMMIT;
