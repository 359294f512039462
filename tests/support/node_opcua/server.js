/* A second OPC UA implementation (node-opcua) for the system tests.
 *
 * node server.js '{"port": 0, "counters": 10, "counting": 5, "counterMs": 100, "namespacesFirst": 0}'
 *
 * Prints one line of JSON when it listens: {"port": …, "certificate": "<path of the PEM>", "uri": …}. Stops on SIGTERM.
 * SIGUSR2 deletes every session with its subscriptions, SIGHUP every subscription; a line of JSON says how many.
 */
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const {
  AccessLevelFlag, DataType, LocalizedText, MessageSecurityMode, OPCUACertificateManager, OPCUAServer,
  SecurityPolicy, StatusCodes, VariantArrayType, nodesets, standardUnits,
} = require("node-opcua");

const options = {
  port: 0, counters: 10, counting: Infinity, counterMs: 200, namespacesFirst: 0, username: "reader", password: "secret",
  users: "" /* a folder: certificates of users are trusted there */, missing: [], limits: {}, capabilities: {}, ...JSON.parse(process.argv[2] || "{}"),
};
const URI = "urn:test:foreign";
const PKI = path.join(__dirname, "node_modules", ".cache", "pki"); // making keys takes 20 s: once is enough

async function main() {
  fs.mkdirSync(PKI, { recursive: true });
  const serverCertificateManager = new OPCUACertificateManager({ rootFolder: PKI, automaticallyAcceptUnknownCertificate: true });
  const userCertificateManager = new OPCUACertificateManager({ rootFolder: options.users || path.join(PKI, "users"), automaticallyAcceptUnknownCertificate: !options.users });
  await serverCertificateManager.initialize();
  await userCertificateManager.initialize();
  const applicationUri = "urn:test:foreign-server";
  const certificateFile = options.certificateFile || path.join(PKI, "server.pem");
  if (!fs.existsSync(certificateFile)) {
    await serverCertificateManager.createSelfSignedCertificate({
      applicationUri, dns: ["localhost"], ip: ["127.0.0.1"], outputFile: certificateFile,
      subject: "/CN=ForeignServer/O=Tests", startDate: new Date(Date.now() - 86400e3), validity: 3650,
    });
  }
  const server = new OPCUAServer({
    port: options.port, host: "127.0.0.1", hostname: "127.0.0.1", resourcePath: "/foreign",
    serverInfo: { applicationUri }, serverCertificateManager, userCertificateManager, certificateFile,
    privateKeyFile: options.privateKeyFile || serverCertificateManager.privateKey,
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    securityPolicies: [
      SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss,
    ],
    allowAnonymous: true,
    userManager: { isValidUser: (name, password) => name === options.username && password === options.password },
    serverCapabilities: {
      maxSubscriptions: 100, maxSubscriptionsPerSession: 100, maxSessions: 100,
      operationLimits: { maxNodesPerRead: 1000, maxMonitoredItemsPerCall: 1000, ...options.limits },
      ...options.capabilities,
    },
    nodeset_filename: [nodesets.standard, path.join(__dirname, "structures.xml")],
    discoveryServerEndpointUrl: null,
    registerServerMethod: 1, // hidden: no discovery server is looked for
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  for (let i = 0; i < options.namespacesFirst; i++) {
    space.registerNamespace(`urn:test:other-${i}`);
  }
  // where namespaces were permuted, the same identifiers mean something else under the old index
  for (let i = 0; i < options.namespacesFirst; i++) {
    const other = space.getNamespace(`urn:test:other-${i}`);
    addVariable(other, space, "Double", DataType.Double, -1);
    for (let n = 0; n < options.counters; n++) {
      addVariable(other, space, `Counter${n}`, DataType.Int32, -1);
    }
  }
  const plant = space.registerNamespace(URI);
  const simple = {
    Boolean: [DataType.Boolean, true], SByte: [DataType.SByte, -8], Byte: [DataType.Byte, 200],
    Int16: [DataType.Int16, -16000], UInt16: [DataType.UInt16, 60000], Int32: [DataType.Int32, -2000000000],
    UInt32: [DataType.UInt32, 4000000000], Int64: [DataType.Int64, /* high and low half of -(2^53 - 1) */ [0xffe00000, 1]],
    Float: [DataType.Float, 80.4], Double: [DataType.Double, 1.25], String: [DataType.String, "加热"],
    LocalizedText: [DataType.LocalizedText, new LocalizedText({ locale: "zh", text: "搅拌" })],
    DateTime: [DataType.DateTime, new Date(Date.UTC(2024, 1, 29, 12, 30, 15, 250))],
    Guid: [DataType.Guid, "09087e75-8e5e-499b-954f-f2a9603db28a"],
    NotANumber: [DataType.Double, NaN], Infinite: [DataType.Float, Infinity],
  };
  for (const [name, [dataType, value]] of Object.entries(simple)) {
    addVariable(plant, space, name, dataType, value);
  }
  const array = plant.addVariable({
    organizedBy: space.rootFolder.objects, browseName: "Array", nodeId: "s=Array", dataType: DataType.Double,
    valueRank: 1, arrayDimensions: [3],
  });
  array.setValueFromSource({ dataType: DataType.Double, arrayType: VariantArrayType.Array, value: new Float64Array([1, 2, 3]) });
  plant.addAnalogDataItem({
    organizedBy: space.rootFolder.objects, browseName: "Analog", nodeId: "s=Analog", dataType: DataType.Double,
    engineeringUnits: standardUnits.degree_celsius, engineeringUnitsRange: { low: 0, high: 200 },
    value: { dataType: DataType.Double, value: 80.5 },
  });
  plant.addAnalogDataItem({ // the file's unit table does not know its number, but its sign
    organizedBy: space.rootFolder.objects, browseName: "Signed", nodeId: "s=Signed", dataType: DataType.Float,
    engineeringUnits: { namespaceUri: "urn:vendor", unitId: 7, displayName: "l/h", description: "" },
    engineeringUnitsRange: { low: 5, high: 5 }, value: { dataType: DataType.Float, value: 2.5 },
  });
  plant.addMultiStateDiscrete({
    organizedBy: space.rootFolder.objects, browseName: "State", nodeId: "s=State", enumStrings: ["Idle", "加热", "Hold"], value: 1,
  });
  plant.addMultiStateValueDiscrete({
    organizedBy: space.rootFolder.objects, browseName: "Mode", nodeId: "s=Mode",
    enumValues: [{ displayName: "Off", value: 0 }, { displayName: "Auto", value: 10 }], value: 10,
  });
  const phase = plant.addEnumerationType({
    browseName: "Phase", enumeration: [{ displayName: "Empty", value: 0 }, { displayName: "Full", value: 5 }],
  });
  const typed = plant.addVariable({
    organizedBy: space.rootFolder.objects, browseName: "Phase", nodeId: "s=Phase", dataType: phase,
  });
  typed.setValueFromSource({ dataType: DataType.Int32, arrayType: VariantArrayType.Scalar, value: 5 });
  withStatus(plant, space, "Bad", StatusCodes.BadSensorFailure);
  withStatus(plant, space, "Uncertain", StatusCodes.UncertainSensorNotAccurate);

  const types = space.getNamespace("urn:test:structures");
  const motorType = types.findDataType("Motor");
  const phases = [["L1", 1.5], ["L2", 2.5]].map(([name, current]) => (
    space.constructExtensionObject(types.findDataType("Phase"), { name, current })));
  const motor = plant.addVariable({
    organizedBy: space.rootFolder.objects, browseName: "Motor", nodeId: "s=Motor", dataType: motorType,
  });
  motor.setValueFromSource({ dataType: DataType.ExtensionObject, value: space.constructExtensionObject(motorType, {
    running: true, speed: 1480.5, gear: 3, hours: [0, 12], phases, zones: [-7, 8], main: phases[1],
    started: new Date(Date.UTC(2024, 1, 29)), label: { locale: "zh", text: "搅拌" },
  }) });

  const skid = plant.addFolder(space.rootFolder.objects, { browseName: "Skid" });
  const deep = plant.addVariable({ componentOf: skid, browseName: "Deep", dataType: DataType.Double }); // any node id
  deep.setValueFromSource({ dataType: DataType.Double, value: 7.25 });
  for (const value of [1, 2]) { // two of one name
    const twin = plant.addVariable({ organizedBy: skid, browseName: "Twin", dataType: DataType.Double });
    twin.setValueFromSource({ dataType: DataType.Double, value });
  }

  const counters = [];
  for (let n = 0; n < options.counters; n++) {
    if (!options.missing.includes(n)) {
      counters.push(addVariable(plant, space, `Counter${n}`, DataType.Int32, 0));
    }
  }
  let count = 0;
  const timer = setInterval(() => {
    count += 1;
    for (const counter of counters.slice(0, options.counting)) {
      counter.setValueFromSource({ dataType: DataType.Int32, value: count });
    }
  }, options.counterMs);

  let stopping = false;
  async function stop() {
    if (stopping) return;
    stopping = true;
    clearInterval(timer);
    setTimeout(() => process.exit(0), 1500).unref(); // whatever a client still holds open
    await server.shutdown(0);
    process.exit(0);
  }
  process.on("SIGTERM", stop);
  const sessions = () => Object.values(server.engine._sessions);
  process.on("SIGUSR2", () => {
    const all = sessions();
    all.forEach((session) => server.engine.closeSession(session.authenticationToken, true, "Forcing"));
    process.stdout.write(JSON.stringify({ deleted: all.length }) + "\n");
  });
  process.on("SIGHUP", () => {
    const all = sessions().flatMap((session) => session.publishEngine.subscriptions.map(({ id }) => [session, id]));
    all.forEach(([session, id]) => session.deleteSubscription(id));
    process.stdout.write(JSON.stringify({ deleted: all.length }) + "\n");
  });

  await server.start();
  const port = server.endpoints[0].port;
  process.stdout.write(JSON.stringify({ port, certificate: certificateFile, uri: URI }) + "\n");
}

function addVariable(namespace, space, name, dataType, value) {
  const variable = namespace.addVariable({
    organizedBy: space.rootFolder.objects, browseName: name, nodeId: `s=${name}`, dataType,
    accessLevel: AccessLevelFlag.CurrentRead, userAccessLevel: AccessLevelFlag.CurrentRead, minimumSamplingInterval: 10,
  });
  variable.setValueFromSource({ dataType, arrayType: VariantArrayType.Scalar, value });
  return variable;
}

function withStatus(namespace, space, name, statusCode) {
  addVariable(namespace, space, name, DataType.Double, 7).setValueFromSource({ dataType: DataType.Double, value: 7 }, statusCode);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
