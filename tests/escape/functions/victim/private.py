SECRET = "kept in a module"
