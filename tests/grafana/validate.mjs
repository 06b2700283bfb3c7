// Holds dashboards against the schema that Grafana publishes (npm: @grafana/schema), which is TypeScript: a JSON schema is made
// of its types. Nothing that the types do not name may stand in a dashboard, in the options of a panel or in its fields.
// Not looked at: the queries, of which the types say nothing; tests/dashboards.rs runs those.
//
// node validate.mjs FOLDER_WITH_NODE_MODULES DASHBOARD...     one line for each fault; ends with 1 when there is one

import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [folder, ...dashboards] = process.argv.slice(2);
const require = createRequire(join(folder, "package.json"));
const { createGenerator } = require("ts-json-schema-generator");
const Ajv = require("ajv");

const types = join(folder, "node_modules/@grafana/schema/dist/types/raw");
const tsconfig = join(folder, "tsconfig.json");
const compilerOptions = { strict: true, module: "esnext", moduleResolution: "bundler", target: "es2022", skipLibCheck: true };
writeFileSync(tsconfig, JSON.stringify({ compilerOptions }));

const generators = new Map();
const checks = new Map();

/** What checks a value against a type of a file of Grafana's. */
function check(file, type) {
  const key = `${file} ${type}`;
  if (!checks.has(key)) {
    const path = join(types, file);
    if (!generators.has(path)) generators.set(path, createGenerator({ path, tsconfig, skipTypeCheck: true }));
    // `strict` refuses keywords that it does not know, of which the comments of the types have some.
    const ajv = new Ajv({ strict: false, allErrors: true, allowUnionTypes: true });
    checks.set(key, ajv.compile(generators.get(path).createSchema(type)));
  }
  return checks.get(key);
}

const panelTypes = (kind) => `composable/${kind}/panelcfg/x/types.gen.d.ts`;
const hasFields = (kind) => /interface FieldConfig\b/.test(readFileSync(join(types, panelTypes(kind)), "utf8"));

/** The faults of a value, as lines. */
function faults(where, value, file, type) {
  const holds = check(file, type);
  if (holds(value)) return [];
  const said = ({ instancePath, message, params }) => `${where}${instancePath}: ${message} ${JSON.stringify(params)}`;
  return holds.errors.map(said);
}

function faultsOfPanel(where, panel) {
  const file = panelTypes(panel.type);
  const found = faults(`${where}: options`, panel.options, file, "Options");
  if (!hasFields(panel.type)) return found;
  return [...found, ...faults(`${where}: fieldConfig.defaults.custom`, panel.fieldConfig.defaults.custom, file, "FieldConfig")];
}

const found = dashboards.flatMap((path) => {
  const dashboard = JSON.parse(readFileSync(path, "utf8"));
  const whole = faults(path, dashboard, "dashboard/x/types.gen.d.ts", "Dashboard");
  return [...whole, ...dashboard.panels.flatMap((panel) => faultsOfPanel(`${path}: ${panel.title}`, panel))];
});
found.forEach((fault) => console.log(fault));
process.exit(found.length > 0 ? 1 : 0);
