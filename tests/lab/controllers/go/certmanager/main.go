// Command cert-manager is cert-manager's three commands in one: `controller`, `webhook` and `cainjector`. Theirs are no
// part of its module; these build what those would, for the flags that its chart sets. Nothing elects a leader: the lab
// runs one of each.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

type command func(ctx context.Context, arguments []string) error

var commands = map[string]command{"controller": controllers, "webhook": webhook, "cainjector": cainjector}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "say one of: controller, webhook, cainjector")
		os.Exit(2)
	}
	logf.InitLogs()
	ctrl.SetLogger(klog.Background())
	if err := commands[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// flags has those of logging. Others are let through: what they are about (election, ACME) is not here.
func flags(name string) *pflag.FlagSet {
	set := pflag.NewFlagSet(name, pflag.ContinueOnError)
	set.ParseErrorsAllowlist.UnknownFlags = true
	logf.AddFlags(logsapi.NewLoggingConfiguration(), set)
	return set
}
