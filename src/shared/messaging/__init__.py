"""Events over RabbitMQ: none is lost between the commit of its sender and the commit of its receiver."""
