//! Asks the running kernel what it does with a program, so that uexec can be compared with it.
