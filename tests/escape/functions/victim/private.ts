export const SECRET = "kept in a module";
