"""Which extra to install, if what an adapter imports is missing."""


def missing_extra(adapter: str, extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """
    Return the error to raise instead of `error`.

    Arguments:
        adapter: the adapter's module.
        extra: the extra that brings what is missing.
        error: names the module that is missing.
    """
    message = f"{adapter} needs more: pip install 'batch_cancel[{extra}]'"
    return ModuleNotFoundError(message, name=error.name)
