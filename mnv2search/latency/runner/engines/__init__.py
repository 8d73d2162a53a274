"""Engines that load and run artifacts: one module per runtime, each with `version` and `load`.

`version() -> str` is the version of the runtime; `load(folder, settings) -> Loaded` loads the files of an artifact.
`settings` are JSON values: ``threads``, ``batch``, ``size`` (height and width in px), ``precision`` and further
settings of the runtime.
Both raise `EngineError` if the runtime is missing or refuses.
"""
