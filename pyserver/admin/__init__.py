"""What answers at the admin address: a process of its own, which reads what the arbiter and the workers write down."""
