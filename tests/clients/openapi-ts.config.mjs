// Node.js resolves imports with their file extension only.
export default { input: "openapi.json", output: { path: "hey", module: { extension: ".js" } } };
