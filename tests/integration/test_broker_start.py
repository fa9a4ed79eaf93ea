"""RabbitMQ as the local stack starts it."""

import tempfile
from pathlib import Path

import aiormq
import pytest

from tools.stack.rabbitmq import RabbitMQ
from tools.stack.servers import free_ports

QUEUE = "new"


@pytest.mark.timeout(120)
async def test_a_queue_can_be_used_after_a_kill_right_after_its_declaration() -> None:
    port = free_ports()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        rabbitmq = RabbitMQ(
            Path(folder),
            port["rabbitmq"],
            port["rabbitmq-ui"],
            port["epmd"],
            port["erlang-distribution"],
            tied=True,
        )
        try:
            await rabbitmq.start()
            await use(rabbitmq)
            await rabbitmq.kill()
            await rabbitmq.start()
            await use(rabbitmq)
        finally:
            await rabbitmq.kill()


async def use(rabbitmq: RabbitMQ) -> None:
    connection = await aiormq.connect(rabbitmq.url)
    channel = await connection.channel()
    await channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    await channel.basic_get(QUEUE)
    await connection.close()
