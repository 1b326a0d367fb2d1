"""A proxy in the environment stands in nobody's way to a server on this host."""

from __future__ import annotations

import os

import pytest
import requests

from modulewise.tracking import store

NOWHERE = "http://127.0.0.1:9"
VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, NOWHERE)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize("given", ["", "*", "example.org, 10.0.0.0/8"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "localhost", "[::1]"])
def test_loopback_is_reached_directly(
    host: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given:
        monkeypatch.setenv("no_proxy", given)
    store.reach_this_host_directly()
    store.reach_this_host_directly()
    proxies = requests.utils.get_environ_proxies(f"http://{host}:5000/api")
    assert not proxies
    assert os.environ["no_proxy"].count("localhost") == (given != "*")
    beyond = requests.utils.get_environ_proxies("http://tracking.example.com")
    assert bool(beyond) == (given != "*")
    if given.startswith("example"):
        assert not requests.utils.get_environ_proxies("http://example.org")
