import { mount } from "svelte";
import "./look.css";
import "./parts.css";
import App from "./shell/App.svelte";

const target = document.getElementById("app");
if (target) mount(App, { target });
