"""What the command line reads of the environment, and what a pod tolerates there."""

from pathlib import Path

import pytest

from ourvidz_worker.config import read_client_settings, read_config
from ourvidz_worker.domain.errors import ConfigError


def test_a_fresh_machine_has_its_defaults() -> None:
    settings = read_client_settings({})
    assert (settings.url, settings.key) == ("http://127.0.0.1:7860", "")
    assert settings.state_dir == Path("state")


def test_the_pods_own_variables_help_to_find_it() -> None:
    found = {"WORKER_PORT": "9", "STATE_DIR": "/s", "WAN_WORKER_API_KEY": "k"}
    settings = read_client_settings(found)
    assert (settings.url, settings.key) == ("http://127.0.0.1:9", "k")
    assert settings.state_dir == Path("/s")


def test_a_pod_tolerates_the_command_lines_variables() -> None:
    assert read_config({"OURVIDZ_URL": "x", "OURVIDZ_KEY": "y"}).worker_port == 7860
    with pytest.raises(ConfigError, match="OURVIDZ_URLS is unknown"):
        read_config({"OURVIDZ_URLS": "x"})


def test_overrides_go_before_the_environment() -> None:
    config = read_config({"WORKER_PORT": "1", "LEASE_TTL_S": "5"}, overrides={"WORKER_PORT": "2"})
    assert (config.worker_port, config.lease_ttl_s) == (2, 5.0)
