/** Imported before another module, it keeps that from being evaluated. By then both have been compiled. */
throw new Error("not to be evaluated");
