def install_abort_handler(timeout: float) -> None:
    """Have ABRT end the requests under way before it ends this process.

    Their clients are answered, or cut off when a response had begun, and the access log gets a line for each; natively,
    so that it also happens while C holds the interpreter lock. Of several threads, those that are not over time are
    answered only when none of them is just about to send something.

    The handler that the signal had before is called afterwards: one that was set in Python may keep the process alive.
    What is to run before this one, such as faulthandler, is enabled later.

    Args:
        timeout: how long a request may take, seconds; 0 for any time. One that took less is answered 500 and not 504.
    """
