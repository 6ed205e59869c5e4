/** The tool that cuts an object by a line; the contract of tools is in tool_select.js. */

import { simplify } from "./geometry.js";
import { drawHandle, drawLine } from "./marks.js";
import { CornersTool } from "./tool_corners.js";
import { toScreen } from "./view.js";

/** Drag a line across an object, or click its corners and press Enter. */
export class SplitTool extends CornersTool {
  underWay = "line";

  addTrace(points, end) {
    this.add(simplify(points, 2 / this.app.view.scale));
    this.pointer = end;
    this.finish();
  }

  finish() {
    if (!this.isDrawing) return;
    const line = this.points;
    if (line.length < 2) return this.app.hint("A line needs two points.");
    this.discard();
    this.app.objects.split(line);
  }

  draw(context) {
    const traced = this.trace?.isTracing ? this.trace.points : [];
    const line = [...this.points, ...traced].map((point) => toScreen(this.app.view, point));
    if (line.length === 0) return;
    const end = this.pointer && !this.trace?.isTracing ? [this.pointer.screen] : [];
    drawLine(context, [...line, ...end], "#ffffff", true);
    for (const corner of line.slice(0, this.points.length)) drawHandle(context, corner, 3, "#ffffff");
  }
}
