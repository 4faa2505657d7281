package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	server "github.com/cert-manager/cert-manager/internal/webhook"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/webhook/options"
)

func webhook(ctx context.Context, arguments []string) error {
	configuration, err := options.NewWebhookConfiguration()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	// these have the flags of logging themselves
	set := pflag.NewFlagSet("webhook", pflag.ContinueOnError)
	options.AddConfigFlags(set, configuration)
	if err := set.Parse(arguments); err != nil {
		return err
	}
	made, err := server.NewCertManagerWebhookServer(logf.FromContext(ctx, "webhook"), *configuration)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return made.Run(ctx)
}
