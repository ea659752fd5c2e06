//! Docker Engines: watching and inspecting their containers. The only user of bollard.
