from collections.abc import Iterable

import pytest
from aiohttp import web

import orders.handlers
import products.handlers
from gateway.routes import BY_PATTERN, ROUTES

SERVED = {"products": products.handlers.ROUTES, "orders": orders.handlers.ROUTES}


def patterns(table: Iterable[web.AbstractRouteDef]) -> set[tuple[str, str]]:
    return {(route.method, route.path) for route in table if isinstance(route, web.RouteDef)}


@pytest.mark.parametrize("upstream", SERVED)
def test_what_a_service_answers_is_what_the_gateway_forwards_to_it(upstream: str) -> None:
    forwarded = {(route.method, route.path) for route in ROUTES if route.upstream == upstream}
    assert forwarded == patterns(SERVED[upstream])


def test_no_two_routes_share_a_pattern() -> None:
    assert len(BY_PATTERN) == len(ROUTES)


def test_whatever_writes_has_a_body_to_check_unless_its_path_says_all() -> None:
    exceptions = {(route.method, route.path) for route in ROUTES if (route.body is None) != (route.method == "GET")}
    assert exceptions == {("POST", "/orders/{id}/cancel"), ("POST", "/orders/{id}/confirm")}
