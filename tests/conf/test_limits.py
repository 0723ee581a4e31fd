"""Whether each server in conf/ bounds what a client can send, and nginx by the same limit."""

import re

import pytest
from conf.files import read

from pyserver.settings.model import ROWS

SERVERS = [
    "systemd/pyserver.service",
    "systemd/shop.env",
    "docker/Dockerfile",
    "lambda/Dockerfile",
    "kubernetes/configmap.yaml",
    "platforms/Procfile",
    "platforms/cloudrun.yaml",
]


def in_nginx():
    """The limit of the site of nginx, in bytes; its m are MiB."""
    return int(re.search(r"client_max_body_size (\d+)m;", read("nginx/pyserver.conf"))[1]) << 20


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_takes_as_much_content_as_nginx_lets_through(name):
    [given] = re.findall(r"(?i)limit.request.body[\"' ,=]+(\w+)", read(name))
    assert ROWS["limit_request_body"].read(given) == in_nginx()
