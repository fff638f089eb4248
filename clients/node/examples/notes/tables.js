// The tables, as Drizzle knows them.
import { bigint, pgTable, text } from "drizzle-orm/pg-core";

export const users = pgTable("users", {
  id: bigint({ mode: "bigint" }).generatedAlwaysAsIdentity().primaryKey(),
  email: text().notNull(),
  passwordHash: text("password_hash").notNull(),
});

export const notes = pgTable("notes", {
  id: bigint({ mode: "number" }).generatedAlwaysAsIdentity().primaryKey(),
  text: text().notNull(),
});
