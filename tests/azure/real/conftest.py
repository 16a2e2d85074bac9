"""The questions are put to two servers: the emulator, which answers as adafs believes the service does, and
Azure itself when its names and keys are in the environment."""
import os
import uuid

import pytest

from service import IS_ASKED, Service

@pytest.fixture(params=["emulator", "azure"] if IS_ASKED else ["emulator"])
def service(request):
    """One of the two, with a container of its own that is deleted afterwards."""
    if request.param == "azure":
        s = Service(dict(os.environ), os.environ["ADAFS_REAL_POOL"])
    else:
        s = Service(request.getfixturevalue("emulator").settings, "local")
    s.begin("adafs-real-" + uuid.uuid4().hex[:12])
    yield s
    s.end()
