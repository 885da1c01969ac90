"""`python -m ourvidz_worker` is the command `ourvidz-worker`."""

from ourvidz_worker.cli.main import main

if __name__ == "__main__":
    main()
