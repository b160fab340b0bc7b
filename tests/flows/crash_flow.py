"""The flow as a deployment has it, without a model: made to be stopped, killed and left alone by its server.

Deployed as `tests.flows.crash_flow:ingest`; `PENSTOCK_TEST_CHILD` is JSON, the fields of `ingest_child.Child`.
Everything but the model and the size of shards is real.
"""

from __future__ import annotations

import os

import msgspec

from penstock.flows.ingest import ingest as ingest
from tests.flows.ingest_child import Child, disguise

disguise(msgspec.json.decode(os.environ["PENSTOCK_TEST_CHILD"], type=Child))
