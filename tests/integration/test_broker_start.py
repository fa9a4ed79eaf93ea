"""RabbitMQ as the local stack starts it."""

import tempfile
from pathlib import Path

import aiormq
import pytest

from tools.stack import ports
from tools.stack.rabbitmq import RabbitMQ

QUEUE = "new"


@pytest.mark.timeout(120)
async def test_a_queue_can_be_used_after_a_kill_right_after_its_declaration() -> None:
    port = ports.choose_each(ports.OF_RABBITMQ)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        rabbitmq = RabbitMQ(Path(folder), *port.values(), tied=True)
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
