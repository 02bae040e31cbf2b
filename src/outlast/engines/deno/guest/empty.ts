/** What an import made for its types alone gives when it is evaluated. */
export {};
