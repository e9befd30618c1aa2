package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/openpf9/openpf9/agent/enroll"
	"github.com/openpf9/openpf9/internal/kindtable"
)

func enrollment(ctx context.Context, c *command) error {
	var du, token, file string
	err := c.flags(0, "", func(fs *flag.FlagSet) {
		fs.StringVar(&du, "du", "", "`URL` of the deployment unit, https://host[:port]")
		fs.StringVar(&token, "token", "", "join `token`; others can see it in the list of processes, so prefer --token-file. \"-\" reads it from standard input")
		fs.StringVar(&file, "token-file", "", "`file` that holds the join token")
	})
	if err != nil {
		return err
	}
	switch {
	case du == "":
		fmt.Fprintln(c.errs, c.program.Name, "enroll: --du is missing")
		return ErrUsage
	case (token == "") == (file == ""):
		fmt.Fprintln(c.errs, c.program.Name, "enroll: give either --token or --token-file")
		return ErrUsage
	}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the join token: %w", err)
		}
		token = string(b)
	} else if token == "-" {
		b, err := io.ReadAll(io.LimitReader(c.in, 4096))
		if err != nil {
			return fmt.Errorf("read the join token: %w", err)
		}
		token = string(b)
	}
	conf, err := c.load()
	if err != nil {
		return err
	}
	paths := enroll.PathsUnder(conf.EtcDir)
	paths.DropIn = c.config + ".d/10-du.conf"
	proxy, err := enroll.Proxy(paths.Proxy, conf.Proxy.URL)
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	got, err := enroll.Enroll(ctx, enroll.Request{DU: du, Token: strings.TrimSpace(token), Hostname: name, Kind: c.program.Kind, Paths: paths, Proxy: proxy})
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	fmt.Fprintf(c.out, "Enrolled %s %s; the certificate is good until %s and renews itself.\n", c.program.Kind, got.Host, got.NotAfter.Format(time.RFC3339))
	if resp, err := c.ask(ctx, http.MethodPost, "/v1/reload"); err != nil {
		fmt.Fprintf(c.out, "The agent was not told: %s\n", kindtable.CleanLines(err.Error()))
		return nil // it reads all this when it starts
	} else if err := resp.Body.Close(); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "The agent connects now.")
	return nil
}
