"""`python -m gateway`"""

import sys

from gateway.app import create_app
from gateway.settings import Settings
from shared.web.server import run

if __name__ == "__main__":
    sys.exit(run("gateway", Settings.load, create_app))
