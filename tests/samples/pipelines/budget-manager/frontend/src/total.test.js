import { expect, test } from "vitest";
import { total } from "./total.js";

test("prices are added", () => expect(total([1, 2])).toBe(3));
