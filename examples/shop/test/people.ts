// A customer and a clerk at one side of the page, and what that side shows.

import type { Locator, Page } from "playwright-core";

import type { Dashboard } from "../shared/api.ts";

export class Side {
  readonly #side: Locator;

  constructor(page: Page, name: "A" | "B") {
    this.#side = page.getByRole("region", { name: `Instance ${name}` });
  }

  // The customer

  async buy(productId: string): Promise<void> {
    await this.#product(productId).getByRole("button", { name: "Buy" }).click();
  }

  async look(productId: string): Promise<void> {
    await this.#product(productId).locator("button.name").click();
  }

  /** The customer's own last order: `[id, status]`. */
  async ownOrder(): Promise<readonly string[]> {
    const own = this.#side.locator("[data-own]");
    if ((await own.count()) === 0) return [];
    return [(await own.getAttribute("data-own"))!, (await own.locator("b").textContent())!];
  }

  // The clerk

  async restock(productId: string): Promise<void> {
    await this.#product(productId).getByRole("button", { name: "+ 5" }).click();
  }

  async setStatus(orderId: string, status: string): Promise<void> {
    await this.#side.locator(`[data-order="${orderId}"]`).getByLabel("Status").selectOption(status);
  }

  // What both see

  async stock(productId: string): Promise<number> {
    const text = (await this.#product(productId).locator(".stock").textContent()) ?? "";
    return text === "sold out" ? 0 : Number.parseInt(text);
  }

  async orders(): Promise<(readonly string[])[]> {
    const orders = this.#side.locator("[data-order]");
    return orders.evaluateAll((all) => all.map((one) => [one.dataset["order"]!, one.dataset["status"]!]));
  }

  async dashboard(): Promise<Dashboard> {
    const fields = this.#side.locator("dl [data-field]");
    const entries = await fields.evaluateAll((all) => all.map((one) => [one.dataset["field"]!, Number(one.dataset["value"])]));
    return Object.fromEntries(entries) as Dashboard;
  }

  /** The product page: `[product, stock, sold]`. */
  async productPage(): Promise<readonly unknown[]> {
    const card = this.#side.locator("[data-page]");
    const number = async (field: string) => Number(await card.locator(`[data-field="${field}"]`).textContent());
    return [await card.getAttribute("data-page"), await number("stock"), await number("sold")];
  }

  async state(): Promise<string[]> {
    return this.#side.locator(".head .state").allTextContents();
  }

  async events(): Promise<string[]> {
    return this.#side.locator(".events .type").allTextContents();
  }

  #product(productId: string): Locator {
    return this.#side.locator(`[data-product="${productId}"]`);
  }
}
