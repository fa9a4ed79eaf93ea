import sys

from orders.app import create_app
from orders.settings import Settings
from shared.web.server import run

if __name__ == "__main__":
    sys.exit(run("orders", Settings.load, create_app))
