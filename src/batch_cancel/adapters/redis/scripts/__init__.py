"""The Lua scripts of the native store, the start gate and the library schedulers."""
