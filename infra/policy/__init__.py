"""The policy pack: rules as pure functions of declared resources, and their way into the engine."""
