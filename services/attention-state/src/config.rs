//! Settings of attention-state, section `attention-state` of the configuration file.
