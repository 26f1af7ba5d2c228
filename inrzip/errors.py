"""What can go wrong, as exceptions whose text is the one line a user reads."""


class InrzipError(ValueError):
    """Base of every error a user can cause or mend. Its text is one line: what is wrong, where, and what to do."""


class CorruptFile(InrzipError):
    """The bytes are no `.inrz` file, or a damaged, truncated or hostile one."""


class UnsupportedSignal(InrzipError):
    """The input cannot be read, or is of a kind, size or sample type that `inrzip` does not code."""


class LimitExceeded(InrzipError):
    """Decoding would need more memory than the caller allows."""


class TargetMissed(InrzipError):
    """The size or quality asked for cannot be reached."""
