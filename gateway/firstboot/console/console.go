// Package console is the gateway appliance's text console: what stands on the
// virtual machine's screen. It shows how the appliance is, changes its network so
// that nobody locks himself out, pairs a vCenter, enrols, looks for faults and
// reboots. It is a process of its own and asks the daemon over its socket.
package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/tview"

	"github.com/openpf9/openpf9/gateway/firstboot"
	"github.com/openpf9/openpf9/gateway/firstboot/netconf"
	"github.com/openpf9/openpf9/gateway/firstboot/pairing"
	"github.com/openpf9/openpf9/gateway/firstboot/program"
	"github.com/openpf9/openpf9/gateway/firstboot/status"
)

const (
	tickEvery    = time.Second
	refreshEvery = 5 * time.Second // of the page
	clockEvery   = time.Minute     // to ask the deployment unit for the time
	workers      = 2               // a network change may wait while something else is done
	jobLimit     = 2 * time.Minute
	stopEvery    = 50 * time.Millisecond
	noticeRows   = 2
	maxNotice    = 10
	rebootLimit  = 30 * time.Second
)

// Options say what the console is for. The zero value is the appliance's, on
// this terminal.
type Options struct {
	Boot   firstboot.Options
	Pairer pairing.Pairer // nil: the page says that it cannot
	// Changer makes changes of the network; nil: that of Boot.
	Changer *netconf.Changer
	Reboot  func(context.Context) error // nil: systemctl reboot
	Screen  tcell.Screen                // not initialised; nil: the terminal
	Log     *slog.Logger                // nil discards; never the terminal
}

// console is one run. All its fields belong to the goroutine of the screen.
type console struct {
	o     Options
	app   *tview.Application
	frame *tview.Flex
	pages *tview.Pages
	jobs  chan job // full: refused, with a notice

	title  *tview.TextView
	status *tview.TextView
	report status.Report
	clock  status.Clock
	notice *tview.TextView

	change *change // a network change in its window; nil: none
}

// job is work off the screen's goroutine. What it returns is done on it.
type job func(context.Context) (then func())

// Run shows the console until ctx ends, or the terminal does. At its start it
// takes back a change that a killed console left unconfirmed.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changer == nil {
		o.Changer = o.Boot.Changer()
	}
	if o.Reboot == nil {
		o.Reboot = func(ctx context.Context) error {
			_, err := program.Run(ctx, rebootLimit, "systemctl", "reboot")
			return err
		}
	}
	if _, err := o.Changer.Recover(ctx); err != nil {
		o.Log.Error("unconfirmed change not rolled back", "err", err)
	}
	if o.Screen == nil {
		screen, err := tcell.NewScreen()
		if err != nil {
			return fmt.Errorf("this is no terminal that can be drawn on: %w", err)
		}
		o.Screen = screen
	}
	c := &console{o: o, app: tview.NewApplication(), jobs: make(chan job, workers)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.build(ctx)
	return c.run(ctx, cancel)
}

// run owns the goroutines. They end before the screen's loop does, because they
// may be waiting for it.
func (c *console) run(ctx context.Context, cancel context.CancelFunc) error {
	var background, stopper sync.WaitGroup
	store := c.o.Boot.Store()
	loops := []func(){
		every(ctx, tickEvery, func() { c.app.QueueUpdateDraw(c.tick) }),
		every(ctx, refreshEvery, func() {
			report := c.o.Boot.Report(ctx, false)
			c.app.QueueUpdateDraw(func() { c.show(report) })
		}),
		every(ctx, clockEvery, func() {
			st, err := store.Load()
			if err != nil {
				return // which the page says
			}
			clock := status.LookAtClock(ctx, c.o.Boot.StatusOptions(), st.Settings)
			c.app.QueueUpdateDraw(func() { c.clock = clock })
		}),
	}
	for _, loop := range loops { // apart, because each may wait for something else
		background.Go(loop)
	}
	for range workers {
		background.Go(func() { c.work(ctx) })
	}
	ended := make(chan struct{})
	stopper.Go(func() {
		<-ctx.Done()
		background.Wait()
		again := time.NewTicker(stopEvery)
		defer again.Stop()
		for {
			c.app.Stop() // does nothing between two screens
			select {
			case <-ended:
				return
			case <-again.C:
			}
		}
	})
	c.app.SetScreen(c.o.Screen)
	err := c.app.Run()
	if err != nil { // the terminal is gone: a loop without one lets the others end
		c.app.SetScreen(tcell.NewSimulationScreen(""))
		cancel()
		_ = c.app.Run()
	}
	cancel()
	close(ended)
	stopper.Wait()
	return err
}

// every returns a loop that does f at once and then again and again until ctx
// ends.
func every(ctx context.Context, pause time.Duration, f func()) func() {
	return func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			f()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (c *console) work(ctx context.Context) {
	for {
		select {
		case j := <-c.jobs:
			if then := j(ctx); then != nil {
				c.app.QueueUpdateDraw(then)
			}
		case <-ctx.Done():
			return
		}
	}
}

// start hands a job to a worker.
func (c *console) start(j job) bool {
	select {
	case c.jobs <- j:
		return true
	default:
		c.say("Two things are being done already; wait until one has ended.")
		return false
	}
}

// say writes above the keys, in as many lines as it takes. An empty text clears
// it.
func (c *console) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	_, _, width, _ := c.frame.GetInnerRect()
	rows := 0
	for line := range strings.Lines(text) {
		rows += 1 + len(line)/max(width, 40)
	}
	c.notice.SetText(text)
	c.frame.ResizeItem(c.notice, min(max(rows, noticeRows), maxNotice), 0)
}

// failed says why something did not work.
func (c *console) failed(what string, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("it took too long")
	}
	c.say("%s: %v", what, err)
}
