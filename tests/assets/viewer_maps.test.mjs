import assert from "node:assert/strict";
import { test } from "node:test";

import { LabelMaps } from "../../assets/maps.js";

/** Maps of 10 bytes each from a pretended server that notes what it was asked. */
function source({ limit = 1000, broken = [] } = {}) {
  const asked = [];
  const decoded = [];
  const fetchFile = async (url) => {
    asked.push(url);
    if (broken.includes(url)) throw new Error(`404 for ${url}`);
    return url;
  };
  const decode = async (file) => {
    decoded.push(file);
    return { width: 5, height: 2, pixels: new Uint8Array(10) };
  };
  return { maps: new LabelMaps({ fetchFile, decode, limit }), asked, decoded };
}

test("a map is fetched and decoded once", async () => {
  const { maps, asked, decoded } = source();

  const first = await maps.get("a");

  assert.equal(await maps.get("a"), first);
  assert.equal(maps.peek("a"), first);
  assert.deepEqual([asked, decoded], [["a"], ["a"]]);
});

test("the map that was not looked at for the longest time goes first", async () => {
  const { maps, asked } = source({ limit: 20 });
  await maps.get("a");
  await maps.get("b");
  maps.peek("a");

  await maps.get("c");

  assert.ok(maps.peek("a") && maps.peek("c"));
  assert.equal(maps.peek("b"), null);
  assert.equal(maps.decodedBytes, 20);
  await maps.get("b");
  assert.deepEqual(asked, ["a", "b", "c"], "the file itself was kept");
});

test("a file that failed is asked for again", async () => {
  const { maps, asked } = source({ broken: ["x"] });

  await assert.rejects(maps.get("x"), /404/);
  await assert.rejects(maps.get("x"), /404/);

  assert.deepEqual(asked, ["x", "x"]);
});

test("prefetching decodes while there is room, fetches the rest, and survives a failure", async () => {
  const { maps, asked, decoded } = source({ limit: 30, broken: ["b"] });

  await maps.prefetch(["a", "b", "c", "d", "e", "f"]);

  assert.deepEqual(asked, ["a", "b", "c", "d", "e", "f"]);
  assert.ok(decoded.length < 6);
  assert.ok(maps.peek("a"), "the most urgent map was not pushed out by the later ones");
  assert.ok(maps.decodedBytes <= 30);
});

test("a newer prefetch replaces the queue of an older one", async () => {
  const { maps, asked } = source();

  await Promise.all([maps.prefetch(["a", "b", "c", "d", "e", "f"]), maps.prefetch(["z"])]);

  assert.ok(asked.includes("z"));
  assert.ok(!asked.includes("f"));
});
