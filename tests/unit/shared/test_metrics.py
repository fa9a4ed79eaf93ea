from shared import metrics


def test_a_request_is_counted_under_its_route_and_status() -> None:
    for seconds in (0.002, 0.2):
        metrics.observe_request("GET", "/counted/{id}", 200, seconds)
    text = metrics.exposition().decode()
    labels = 'method="GET",route="/counted/{id}",status="200"'
    assert f"http_request_duration_seconds_count{{{labels}}} 2.0" in text
    assert f'http_request_duration_seconds_bucket{{le="0.0025",{labels}}} 1.0' in text
