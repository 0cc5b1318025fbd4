"""What ends by being cancelled, however a call of gRPC tells of it."""

import asyncio


def heed_cancellation() -> None:
    """Raise CancelledError where the task that runs this is being cancelled; nothing otherwise.

    A call of ``grpc.aio`` whose status comes in the moment its task is cancelled tells of its
    status only: whoever tries again then would do so for ever, and who ends it wait for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling() > 0:
        raise asyncio.CancelledError
