# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of the rollout store, on the estate's etcd."""

from __future__ import annotations

import pytest
from contracts.etcd_store import EtcdStoreContract
from helpers import ENDPOINTS


class TestEtcdStore(EtcdStoreContract):
    @pytest.fixture
    def endpoints(self) -> list[str]:
        return list(ENDPOINTS)
