"""Types of numbers on a command line; argparse reports one that is out of bounds as wrong usage, exit status 2."""

import argparse
from collections.abc import Callable

from shared.settings import Number, integer, seconds


def whole(low: int, high: int) -> Callable[[str], int]:
    return _argument(integer(low, high))


def number(low: float, high: float) -> Callable[[str], float]:
    return _argument(seconds(low, high))


def _argument(read: Callable[[str], Number]) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse
