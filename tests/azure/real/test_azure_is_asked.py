"""Says once whether Azure itself was asked."""
import pytest

from service import IS_ASKED, NEEDED


def test_azure_is_asked():
    if not IS_ASKED:
        pytest.skip("the questions went to the emulator only: set ADAFS_REAL=yes, " + ", ".join(NEEDED)
                    + " (a pool with an idle node) to ask Azure")
