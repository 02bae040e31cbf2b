/** Imported before another module, this keeps it from being evaluated. By then both have been compiled. */
throw new Error("not to be evaluated");
