"""The words of the system: values, states and errors; no input, output, clock or chance."""
