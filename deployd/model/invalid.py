"""The one error of this layer."""


class Invalid(ValueError):
    """Text that is not the value it should be; the message is a sentence for whoever wrote it.

    The shared responder wrapper and deployctl turn it into ``errors.UsageError``, so nothing else has to.
    """
