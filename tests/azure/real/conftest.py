"""The questions are put to two servers: the emulator, which answers as adafs believes the service does, and
Azure itself when its names and keys are in the environment."""
import os
import uuid

import pytest

from service import Service

NEEDED = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ACCESS_KEY",
          "AZURE_BATCH_ENDPOINT", "ADAFS_REAL_POOL")


@pytest.fixture(params=["emulator", "azure"])
def service(request):
    """One of the two, with a container of its own that is deleted afterwards."""
    if request.param == "azure":
        missing = [name for name in NEEDED if not os.environ.get(name)]
        if os.environ.get("ADAFS_REAL") != "yes" or missing:
            pytest.skip("asks Azure itself: set ADAFS_REAL=yes and " + ", ".join(missing or NEEDED)
                        + " (a pool with an idle node)")
        s = Service(dict(os.environ), os.environ["ADAFS_REAL_POOL"])
    else:
        s = Service(request.getfixturevalue("emulator").settings, "local")
    s.begin("adafs-real-" + uuid.uuid4().hex[:12])
    yield s
    s.end()
