"""Two nodes on one PostgreSQL for the tests that leave them as they are, and a private PostgreSQL to be ill-treated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, PrivatePostgres, cluster, private_postgres, shared_database


@pytest.fixture
def database() -> Iterator[str]:
    """An empty PostgreSQL database, by its address."""
    with shared_database() as url:
        yield url


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that were started at the same moment on an empty database."""
    with shared_database() as url, cluster(tmp_path_factory.mktemp("nodes"), url) as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[PrivatePostgres]:
    """A server of one's own."""
    with private_postgres() as server:
        yield server
