"""Events over RabbitMQ: nothing is lost between a commit here and a commit there."""
