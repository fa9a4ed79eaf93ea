import sys

from products.app import create_app
from products.settings import Settings
from shared.web.server import run

if __name__ == "__main__":
    sys.exit(run("products", Settings.load, create_app))
