"""Events that others post over HTTP: who may send what, what of it goes on, and the server that takes it."""
