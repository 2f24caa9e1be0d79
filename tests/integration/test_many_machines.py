"""Several nodes behind the real HAProxy and nginx, with the configurations of `conf/`: they come and go unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Start
from tests.integration.load import MixedLoad
from tests.integration.proxies import (
    HAPROXY,
    NGINX,
    NODES,
    list_arguments,
    restart_each,
    run_haproxy,
    run_nginx,
    wait_answer_of,
)
from tests.integration.running import Running


@pytest.mark.skipif(HAPROXY is None or NGINX is None, reason="needs haproxy and nginx")
@pytest.mark.timeout(120)
def test_nodes_are_restarted_under_load_and_no_request_fails(start: Start, tmp_path: Path) -> None:
    """HAProxy sends nothing a second time, so each node has to leave before it stops. nginx asks nobody beforehand:
    whoever refuses is passed over.
    """

    def begin(node: int) -> Running:
        return start(*list_arguments(node), bind=None)

    nodes = {node: begin(node) for node in NODES}
    with run_haproxy(tmp_path) as haproxy, run_nginx(tmp_path) as nginx:
        for node in NODES:
            wait_answer_of(node, haproxy)
        with MixedLoad(haproxy, threads=1) as one, MixedLoad(nginx, threads=1) as other:
            restart_each(nodes, begin, [haproxy, nginx], [one, other])
    assert one.report.lost == 0, one.report
    assert other.report.lost == 0, other.report
